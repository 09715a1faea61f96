# The drawing page and its readers of pictures on port 8000. Written by the book, and not run by its authors.
#   docker build -t lenet5 . && docker run -p 8000:8000 lenet5
FROM python:3.12-slim
WORKDIR /lenet5
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt --extra-index-url https://download.pytorch.org/whl/cpu
COPY . .
USER nobody
EXPOSE 8000
CMD ["python", "draw.py", "--no-browser", "--host", "0.0.0.0", "--port", "8000"]
